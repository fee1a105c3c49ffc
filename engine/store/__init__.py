"""What is remembered: the database, its schema by versioned migrations, and the queries, one module per subject."""
