"""What a result looks like to people. Functions over a result; they compute nothing."""
