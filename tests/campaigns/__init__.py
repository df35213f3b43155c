"""Campaigns: many random faults and inputs against the real program. ``make torture`` and ``make fuzz`` run them."""
