"""Fits boosted trees to the iris flowers that scikit-learn ships, and writes them beside this file."""
from pathlib import Path

import xgboost
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

flowers = load_iris()
x_train, x_test, y_train, y_test = train_test_split(
    flowers.data, flowers.target, test_size=0.2, random_state=1, stratify=flowers.target
)
model = xgboost.XGBClassifier(n_estimators=30, max_depth=3, random_state=1).fit(x_train, y_train)
target = Path(__file__).with_name("model.ubj")
unfinished = target.with_name("unfinished.ubj")
model.get_booster().save_model(unfinished)
unfinished.replace(target)
print(f"accuracy on held-back flowers: {model.score(x_test, y_test):.2f}; written to {target.name}")
