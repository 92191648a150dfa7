"""What a person can apply for: cases, the calls they cause, the clock they run under.

One folder a service. Rules are pure functions by legal date; rates, fees and limits are dated data beside
them; orchestration is an event history in SQL and an outbox of agency calls.
"""
