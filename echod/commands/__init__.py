"""The commands, one file per noun. At module level they import only click, config, errors and one another."""
