"""What tests stand on that no test module owns."""
