"""National Immigration Agency (內政部移民署): residence records, the information check, the final review."""
