"""The suite: one file per module, plus the contract, the example application and the types."""
