"""One module per verb, each with `run(arguments) -> exit code`; imported only when its verb runs."""
