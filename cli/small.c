/*
 * small - cortex delete, version and completion.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/text.h"
#include "cli/view.h"

/* ---- delete ---- */

/* Who sits at a terminal is asked, wherever the output goes. */
static bool
is_meant(const struct cli *cli)
{
	FILE *screen = text_is_terminal() ? stdout : stderr;
	char answer[16] = "";

	if (cli->force || !isatty(STDIN_FILENO))
		return true;
	fprintf(screen, "end the api \"%s\", until the next deploy or start? [y/N] ", cli->args[0]);
	fflush(screen);
	return fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y');
}

static int
request_delete(const struct daemon *daemon, const char *name)
{
	char *path = daemon_path("/delete?api=", name);
	struct daemon_answer answer = {.body = NULL};
	struct error err;
	int result = EXIT_FAILURE;

	if (daemon_request(daemon, "POST", path, NULL, 0, &answer, &err) < 0)
		cli_fail("%s", err.text);
	else if (answer.status != 202)
		cli_fail("cortexd answers %ld: %.*s", answer.status, (int)strcspn(answer.body, "\r\n"), answer.body);
	else
		result = EXIT_SUCCESS;
	if (result == EXIT_SUCCESS)
		printf("%s ends; the next deploy, or start, brings it back unless it is taken out of %s\n", name,
		    daemon->config ? daemon->config : "cortex.yaml");
	daemon_answer_done(&answer);
	free(path);
	return result;
}

/* Nobody is asked about what cannot be done. */
int
run_delete(struct cli *cli)
{
	json_t *status = NULL;
	struct daemon daemon;
	struct error err;
	int result = EXIT_FAILURE;

	if (daemon_find(cli, &daemon, &err) < 0 || daemon_status(&daemon, &status, &err) < 0)
		cli_fail("%s", err.text);
	else if (!view_find_newest(status, cli->args[0]))
		cli_fail("there is no api \"%s\"; cortex get lists those that there are", cli->args[0]);
	else if (!is_meant(cli))
		cli_fail("nothing was done");
	else
		result = request_delete(&daemon, cli->args[0]);
	json_decref(status);
	daemon_done(&daemon);
	return result;
}

/* ---- version ---- */

int
run_version(struct cli *cli)
{
	struct daemon daemon;
	struct error err;
	json_t *status;

	printf("cortex   %s\n", CORTEXD_VERSION);
	if (daemon_find(cli, &daemon, &err) == 0 && daemon_status(&daemon, &status, &err) == 0) {
		printf("cortexd  %s\n", view_text(status, "version"));
		json_decref(status);
	} else {
		char *clean = text_clean(err.text, strlen(err.text), false);

		printf("cortexd  -  (%s)\n", clean);
		free(clean);
	}
	daemon_done(&daemon);
	return EXIT_SUCCESS;
}

/* ---- completion ---- */

/* Names of apis are asked for when they are needed; without a cortexd there are none. */

static const char bash[] =
    "_cortex() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} command= api= i\n"
    "    local -a before=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "        -c | --config | --socket | --token-file)\n"
    "            before+=(\"${COMP_WORDS[i]}\" \"${COMP_WORDS[i + 1]}\")\n"
    "            ((i++))\n"
    "            ;;\n"
    "        -o | --output | -n | --lines | --since) ((i++)) ;;\n"
    "        -*) ;;\n"
    "        *)\n"
    "            [[ ! $command || $api ]] || api=${COMP_WORDS[i]}\n"
    "            [[ $command ]] || command=${COMP_WORDS[i]}\n"
    "            ;;\n"
    "        esac\n"
    "    done\n"
    "    case ${COMP_WORDS[COMP_CWORD - 1]} in\n"
    "    -c | --config | --token-file | --socket)\n"
    "        compopt -o filenames\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
    "        return\n"
    "        ;;\n"
    "    -n | --lines | --since) return ;;\n"
    "    -o | --output) mapfile -t COMPREPLY < <(compgen -W 'json name' -- \"$word\"); return ;;\n"
    "    esac\n"
    "    if [[ $word == -* ]]; then\n"
    "        local words='--config --socket --token-file --no-color --help'\n"
    "        case $command in\n"
    "        get) words+=' --watch --verbose --output' ;;\n"
    "        logs) words+=' --follow --since --lines' ;;\n"
    "        predict) words+=' --debug' ;;\n"
    "        delete) words+=' --force' ;;\n"
    "        esac\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
    "        return\n"
    "    fi\n"
    "    case $command in\n"
    "    '' | help) mapfile -t COMPREPLY < <(compgen -W '@COMMANDS@' -- \"$word\") ;;\n"
    "    predict)\n"
    "        if [[ $api ]]; then\n"
    "            compopt -o filenames\n"
    "            mapfile -t COMPREPLY < <(compgen -d -- \"$word\"; compgen -f -X '!*.json' -- \"$word\")\n"
    "        else\n"
    "            mapfile -t COMPREPLY < <(compgen -W \"$(\"$1\" get -o name \"${before[@]}\" 2>/dev/null)\" -- "
    "\"$word\")\n"
    "        fi\n"
    "        ;;\n"
    "    get | logs | delete)\n"
    "        [[ $api ]] || mapfile -t COMPREPLY < <(compgen -W \"$(\"$1\" get -o name \"${before[@]}\" 2>/dev/null)\" "
    "-- "
    "\"$word\")\n"
    "        ;;\n"
    "    completion) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- \"$word\") ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _cortex cortex\n";

static const char zsh[] =
    "#compdef cortex\n"
    "_cortex() {\n"
    "    local -a common=(\n"
    "        '(-c --config)'{-c,--config}'[the project]:file:_files'\n"
    "        '--socket[where cortexd listens]:address:_files'\n"
    "        '--token-file[with the token]:file:_files'\n"
    "        '--no-color[no colours]'\n"
    "        '(-h --help)'{-h,--help}'[explain]'\n"
    "    )\n"
    "    local context state state_descr line\n"
    "    typeset -A opt_args\n"
    "    _arguments -C $common '1:command:(@COMMANDS@)' '*::argument:->argument' && return\n"
    "    [[ $state == argument ]] || return\n"
    "    case $words[1] in\n"
    "    get) _arguments $common '(-w --watch)'{-w,--watch}'[again and again]' '(-v --verbose)'{-v,--verbose}'[more]' "
    "\\\n"
    "        '(-o --output)'{-o,--output}'[form]:form:(json name)' '1:api:_cortex_apis' ;;\n"
    "    logs) _arguments $common '(-f --follow)'{-f,--follow}'[go on]' '--since[only what is younger]:duration:' \\\n"
    "        '(-n --lines)'{-n,--lines}'[only the last]:lines:' '1:api:_cortex_apis' ;;\n"
    "    predict) _arguments $common '--debug[log what passes]' '1:api:_cortex_apis' '2:sample:_files' ;;\n"
    "    delete) _arguments $common '(-f --force)'{-f,--force}'[do not ask]' '1:api:_cortex_apis' ;;\n"
    "    completion) _arguments '1:shell:(bash zsh fish)' ;;\n"
    "    help) _arguments '1:command:(@COMMANDS@)' ;;\n"
    "    *) _arguments $common ;;\n"
    "    esac\n"
    "}\n"
    "_cortex_apis() {\n"
    "    local -a apis=(${(f)\"$(cortex get -o name 2>/dev/null)\"})\n"
    "    compadd -a apis\n"
    "}\n"
    "if [[ $funcstack[1] == _cortex ]]; then _cortex \"$@\"; else compdef _cortex cortex; fi\n";

static const char fish[] =
    "set -l commands @COMMANDS@\n"
    "set -l none \"not __fish_seen_subcommand_from $commands\"\n"
    "complete -c cortex -f\n"
    "complete -c cortex -n $none -a \"$commands\"\n"
    "complete -c cortex -s c -l config -r -F -d 'the project'\n"
    "complete -c cortex -l socket -r -F -d 'where cortexd listens'\n"
    "complete -c cortex -l token-file -r -F -d 'with the token'\n"
    "complete -c cortex -l no-color -d 'no colours'\n"
    "complete -c cortex -s h -l help -d 'explain'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from get logs predict delete' -a '(cortex get -o name "
    "2>/dev/null)'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from get' -s w -l watch -d 'again and again'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from get' -s v -l verbose -d 'more'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from get' -s o -l output -x -a 'json name'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from logs' -s f -l follow -d 'go on'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from logs' -l since -x -d 'only what is younger'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from logs' -s n -l lines -x -d 'only the last'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from predict' -l debug -d 'log what passes'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from predict' -F\n"
    "complete -c cortex -n '__fish_seen_subcommand_from delete' -s f -l force -d 'do not ask'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n"
    "complete -c cortex -n '__fish_seen_subcommand_from help' -a \"$commands\"\n";

int
run_completion(struct cli *cli)
{
	static const struct {
		const char *shell, *script;
	} scripts[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
	const char *script = NULL, *mark;

	for (size_t i = 0; i < N_ELEMENTS(scripts); i++)
		if (!strcmp(scripts[i].shell, cli->args[0]))
			script = scripts[i].script;
	if (!script) {
		cli_fail("the shell is bash, zsh or fish, not \"%s\"", cli->args[0]);
		return EXIT_USAGE;
	}
	while ((mark = strstr(script, "@COMMANDS@"))) {
		fwrite(script, 1, (size_t)(mark - script), stdout);
		for (size_t i = 0; i < n_commands; i++)
			printf("%s%s", i > 0 ? " " : "", commands[i].name);
		script = mark + strlen("@COMMANDS@");
	}
	fputs(script, stdout);
	return EXIT_SUCCESS;
}
