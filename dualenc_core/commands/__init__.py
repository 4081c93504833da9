"""One module for each verb of the command line; each has EXAMPLES, add_arguments and run."""
