"""A grid search of scikit-learn on two processes."""

from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

if __name__ == "__main__":
    features, kinds = load_iris(return_X_y=True)
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1]}, n_jobs=2).fit(features, kinds)
    print(search.best_params_, round(search.best_score_, 6))
