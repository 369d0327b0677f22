"""Tools and answer formats of a comparison, and the calls that came back."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("playground", "0008_pairs_taken_back")]

    operations = [
        migrations.AddField(model_name="comparison", name="tools", field=models.JSONField(blank=True, null=True)),
        migrations.AddField(model_name="comparison", name="response_format", field=models.JSONField(blank=True, null=True)),
        migrations.AddField(model_name="response", name="tool_calls", field=models.JSONField(blank=True, default=list)),
    ]
