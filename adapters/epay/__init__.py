"""The e-government payment service: orders, a page to pay on, signed payment notices."""
