"""The notification service: tells people, by e-mail and SMS, that something waits for them."""
