from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("playground", "0014_film_now")]

    operations = [
        migrations.AddField(model_name="vote", name="samples", field=models.JSONField(blank=True, default=list)),
    ]
