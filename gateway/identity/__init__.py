"""Who agents and operators are: tokens and logins verified, the issuer asked, and who is kept out."""
