"""Why a rule is wrong: the mistakes that people make, each recognized by its result."""
