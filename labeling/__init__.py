"""What a person is asked, as a table and as a page, and what comes back."""
