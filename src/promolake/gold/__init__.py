"""One metric per file: TABLE, a pure function, FLOW. One row per grain; a late row corrects its window, however late."""
