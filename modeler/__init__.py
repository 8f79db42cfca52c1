"""Training, evaluation and prediction. It needs scikit-learn, pandas and joblib; the API never imports it."""
