"""Several answers of one column to one message."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("playground", "0009_structured_answers")]

    operations = [
        migrations.AddField(model_name="response", name="more_samples", field=models.JSONField(blank=True, default=list)),
    ]
