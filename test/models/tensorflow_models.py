"""The SavedModels of the tests: tensorflow_models.py FOLDER. Run by the environment of configs/iris-tensorflow (test.mk)."""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf  # noqa: E402

folder = sys.argv[1]


class Times(tf.Module):
    def __init__(self, factor):
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def times(self, x):
        return {"y": x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])
    def plus(self, x):
        return {"sum": x + self.factor}


class Types(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([2], tf.int64, name="i64"),
            tf.TensorSpec([], tf.float64, name="f64"),
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([1, 2], tf.bool, name="flag"),
            tf.TensorSpec(None, tf.int32, name="any"),
        ]
    )
    def same(self, i64, f64, text, flag, any):
        return {"i64": i64, "f64": f64, "text": text, "flag": flag, "any": any}


def save(module, name, **signatures):
    tf.saved_model.save(module, os.path.join(folder, name), signatures=signatures)


for name, factor in (("twice", 2), ("thrice", 3), ("tenfold", 10)):
    module = Times(factor)
    save(module, name, serving_default=module.times)
module = Times(2)
save(module, "predict", predict=module.times, other=module.plus)
save(module, "ambiguous", times=module.times, plus=module.plus)
module = Types()
save(module, "types", predict=module.same)

# What Keras writes has two signatures, none of them "predict".
model = tf.keras.Sequential([tf.keras.Input([2]), tf.keras.layers.Dense(1, kernel_initializer="ones")])
model.export(os.path.join(folder, "keras"), verbose=False)
