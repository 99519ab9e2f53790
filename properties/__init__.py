"""The theorems: what holds of our ops, variants, array libraries and of the judge, for all cases. Not installed."""
