"""What the runtime does around the core: authoring, codec, worker, client."""
