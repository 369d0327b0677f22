"""How long a whole answer took."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("playground", "0010_answer_samples")]

    operations = [
        migrations.AddField(model_name="response", name="seconds", field=models.FloatField(null=True)),
    ]
