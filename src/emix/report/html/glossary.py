"""The words of the report, explained where they stand."""

GLOSSARY = {
    "component": "A group of rows that look alike. The model says what a typical row of each group looks like; which "
    "group a row belongs to is never seen, only estimated.",
    "mixture": "A model in which each row comes from one of several components, nobody saw from which.",
    "proportion": "The share of all rows that a component makes up.",
    "expected rows": "All rows, each counted by its probability of the component: one that is half sure counts half.",
    "responsibility": "The probability that a row belongs to a component, given its cells. A row's add up to 100 %.",
    "E-step": "Expectation: from the present parameters, how probable is each component for each row?",
    "M-step": "Maximization: from these probabilities as weights, which parameters fit best? Usually weighted means.",
    "EM": "Expectation maximization: E-step and M-step by turns until nothing changes. No turn fits worse.",
    "log-likelihood": "How probable the model makes the rows, as a logarithm. Higher is better; differences count.",
    "nats": "The unit of a natural logarithm. A difference of 3 nats makes the rows 20 times as probable.",
    "AIC": "Misfit plus a price of 2 for each free parameter; smaller is better. It tends to choose large models.",
    "BIC": "Misfit plus a price of log(rows) for each free parameter; smaller is better. It is wary of large models.",
    "ICL": "BIC plus a price for components that overlap; smaller is better. It looks for well-separated groups.",
    "AICc": "AIC with a higher price where there are few rows for each parameter; smaller is better.",
    "SABIC": "BIC with a lower price, as if there were fewer rows (about a 24th); smaller is better.",
    "free parameters": "How many numbers were estimated from the rows.",
    "converged": "Going on would change nothing worth mentioning.",
    "start": "EM climbs to the nearest top. Several starts make it likely that the highest one is found.",
    "entropy R²": "100 % where each row's component is certain, 0 % where nothing is known of it.",
    "apart": "Share of a column's variance that lies between the components: 0 tells nothing, 1 separates them fully.",
    "interval": "If the model is right, intervals made like this hold the true value as often as they promise.",
    "standard error": "How far an estimate would typically be off, over repeated samples of as many rows.",
    "seed": "The number that random starts are drawn from; the same seed gives the same result to the last bit.",
}
