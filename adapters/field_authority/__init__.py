"""The ministry competent for a field of expertise (中央目的事業主管機關), one instance a ministry."""
