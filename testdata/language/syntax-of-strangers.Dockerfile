# syntax=example.com/some/frontend:1
FROM base
