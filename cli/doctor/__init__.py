"""`tongjian doctor`: observe a network through its public interface (`observe`), then say what is wrong (`diagnose`,
pure)."""
