"""Where rows come from: tables in memory and files. The only place that validates user data."""
