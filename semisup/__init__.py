"""Training on the unlabeled images: each module turns what is known into Targets, none trains."""
