"""Plans many flows on one site: one-flow problems at prices, held together by a master problem."""
