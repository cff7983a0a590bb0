"""`kinema caption review`: what people say of captions, and the screen to say it on."""
