"""What browsers ask for over HTTP. Scoring over HTTP is `resources.scoring_server`'s."""
