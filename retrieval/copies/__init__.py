"""Find copies, plan what to remove, and carry out the plan."""
