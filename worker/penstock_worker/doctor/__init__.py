"""`penstock doctor`: what would hurt later, found by small checks that know nothing of each other."""
