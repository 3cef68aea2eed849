"""Makes wheels that stand in for tensorflow and xgboost where tensorflow-cpu and xgboost-cpu are what is installed.

    stand_ins.py LIST FOLDER      for each NAME-cpu==VERSION in LIST, NAME VERSION+cpu in FOLDER; prints the requirements

A build for CPUs has the same modules under another name, so whoever requires plain `tensorflow`, another package or a project's
requirements.txt, would get the large build beside it, into the same files. A stand-in has no files, and requires the build that
is there. Its version is equal to that of the real one for everything but `===`.
"""
import re
import sys
import zipfile
from pathlib import Path


def make(folder, name, version):
    info = f"{name}-{version}+cpu.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}+cpu\n"
        f"Summary: stands in for {name} where {name}-cpu is installed\nRequires-Dist: {name}-cpu=={version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: cortexd\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}+cpu-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


def main():
    builds, folder = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
    folder.mkdir()
    for name, version in re.findall(r"^(\w+)-cpu==(\S+)", builds, re.MULTILINE):
        make(folder, name, version)
        print(f"{name}=={version}+cpu")


if __name__ == "__main__":
    main()
