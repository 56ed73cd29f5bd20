"""Call control: tables and a reducer without I/O, and the supervisor that runs them on trio."""
