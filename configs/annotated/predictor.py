"""Rounds a price to the step that cortex.yaml's metadata asks for."""

import os

from rounding import nearest


def predict(sample, metadata):
    price = nearest(sample["price"], metadata["step"])
    return {"price": price, "currency": os.environ["CURRENCY"]}
