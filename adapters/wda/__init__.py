"""Workforce Development Agency of the Ministry of Labor (勞動部勞動力發展署): the qualification review."""
