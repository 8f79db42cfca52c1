"""How models are made and asked. It needs scikit-learn, pandas and joblib; the API never imports it."""
