"""The page of lessons, the self-test, and the room for teachers."""
