"""What happens to rows between a source and a load file: names, types, masks, order."""
