"""What is measured inside the network while it trains; measuring never changes what is learned."""
