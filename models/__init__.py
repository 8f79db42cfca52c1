"""What a model is and how it is made.

Light, read by the API: schema, card, options, registry. Heavy, with scikit-learn and pandas: artifact, dataset,
estimators, train, predictor.
"""
