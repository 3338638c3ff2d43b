[
  inputs: ["{mix,.formatter}.exs", "script/*.exs", "{lib,test,bench,examples}/**/*.{ex,exs}"]
]
