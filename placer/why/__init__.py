"""Why a plan is as it is, what its limits are worth, and what could be traded for what."""
