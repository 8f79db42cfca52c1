"""HTTP, and nothing but HTTP. Imports neither scikit-learn nor pandas."""
