"""Workers on other machines: Ray actors, and what carries jobs there and back."""
