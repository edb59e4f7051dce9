"""Likelihoods, priors and posteriors, and draws that several processes share."""
