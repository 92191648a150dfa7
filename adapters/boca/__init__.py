"""Bureau of Consular Affairs of the Ministry of Foreign Affairs (外交部領事事務局)."""
