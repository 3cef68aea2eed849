"""Fits a logistic regression to the iris flowers that scikit-learn ships, and writes it beside this file."""
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

flowers = load_iris()
x_train, x_test, y_train, y_test = train_test_split(
    flowers.data, flowers.target, test_size=0.2, random_state=1, stratify=flowers.target
)
model = LogisticRegression(max_iter=500).fit(x_train, y_train)
target = Path(__file__).with_name("model.joblib")
unfinished = target.with_name("unfinished.joblib")
joblib.dump(model, unfinished)
unfinished.replace(target)
print(f"accuracy on held-back flowers: {model.score(x_test, y_test):.2f}; written to {target.name}")
