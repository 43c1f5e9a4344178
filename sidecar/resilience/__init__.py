"""What a gate does on a bad day: posture, and (later) retries, breakers and admission."""
