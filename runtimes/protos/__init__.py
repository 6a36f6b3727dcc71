"""The wire's messages; both files live in one private pool (see ``pool``)."""
